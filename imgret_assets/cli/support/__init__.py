"""Parts that several commands share: output, arguments, progress bar, ports."""
