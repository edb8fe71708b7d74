"""The dialects: what the requests, the events and the errors of one API mean to the gateway."""
