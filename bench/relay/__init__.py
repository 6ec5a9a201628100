"""`./dev bench relay`: what the relay's core does without sockets, and the memory of bindings that say nothing."""
