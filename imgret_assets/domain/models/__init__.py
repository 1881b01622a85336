"""What a model is: networks, weights, preprocessing, the embedding space, and what the home knows of them."""
