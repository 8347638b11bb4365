"""What candidates cost: exact once the outer loops are known."""
