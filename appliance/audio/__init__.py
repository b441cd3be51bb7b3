"""A recording on its way in: streamed into reserved memory, decoded in a sandbox, speech found."""
