"""From words and turns to one transcript. A package of its own, since for private transcripts it runs in a process of its own,
which must start quickly and load nothing else.
"""
