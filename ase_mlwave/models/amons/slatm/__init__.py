"""aSLATM: a spectrum of pairs and triangles for every atom, differentiable and periodic, in PyTorch."""
