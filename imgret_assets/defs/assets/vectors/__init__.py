"""Second layer: vectors and the tables that are computed from them."""
