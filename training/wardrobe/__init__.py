"""Training of the wardrobe: a generator of neural textures and the dresser that shows them."""
