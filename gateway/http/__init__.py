"""The HTTP side of the gateway: the front door, its two ways, the endpoints and the dashboard."""
