"""One answer's life: dispatch, events, log, settlement."""
