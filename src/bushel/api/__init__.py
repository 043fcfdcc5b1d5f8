"""HTTP: one module of routes a resource. A route says who may, on what, then makes one call."""
