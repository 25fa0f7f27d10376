"""`rondo lsp`: the compiler in an editor. Problems as one types, what a name or a template is, where it is defined.

Only `server` knows the protocol; what is below it speaks of texts, lines and columns, counted from 1 as the compiler does.
"""
