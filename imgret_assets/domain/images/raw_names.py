"""Names of camera raw files: their endings.

Belongs here: the endings. Not here: recognising raw files by content (`domain.images.raw_decoding`,
`domain.images.file_formats`), the JPEG of the same shot (`domain.images.raw_pairs`).
"""

# Lower case, without a dot.
RAW_ENDINGS = (
    *("3fr", "arw", "cr2", "cr3", "dcr", "dng", "erf", "fff", "iiq", "kdc", "mef", "mos", "mrw"),
    *("nef", "nrw", "orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f"),
)
