"""Generic codecs between bytes and meaning. No I/O, no clock."""
