"""One module for each kind of recording: its files in, the columns of `records.Decoded` out."""
