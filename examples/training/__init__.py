"""A small harness that trains the networks whose curvature the examples look at; plain torch."""
