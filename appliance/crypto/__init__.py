"""What private transcripts are locked with: the envelope that a browser makes, and the seal on a result on its way there.

Pure: bytes in, bytes or a typed error out. Who may fetch what, and when it is wiped, is decided elsewhere.
"""
