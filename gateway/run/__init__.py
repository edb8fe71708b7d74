"""The process: building the parts, serving, reload, drain and stop."""
