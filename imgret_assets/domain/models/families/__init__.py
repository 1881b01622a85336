"""Model families: one module each, with everything that only this family needs. `domain.models.registry` lists them."""
