"""Resources: what assets and ops borrow."""
