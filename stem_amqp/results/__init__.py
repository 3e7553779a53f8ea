"""Result backends: the contract in `base`, one module for each store, chosen by URL scheme."""
