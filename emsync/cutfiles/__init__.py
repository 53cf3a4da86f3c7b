"""Files of editing programs and audio editors that hold cuts: reading and writing, one module a format.

`emsync.cutlist` holds the table of formats, checks what they give, and chooses between them.
"""
