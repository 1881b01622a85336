"""What several commands use: output, arguments, progress bar, ports."""
