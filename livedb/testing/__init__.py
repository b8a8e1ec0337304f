"""Testing tools: strategies for values and documents."""
