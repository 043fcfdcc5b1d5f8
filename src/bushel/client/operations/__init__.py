"""Every operation of the API, one module a resource. See `bushel.client.operation`."""
