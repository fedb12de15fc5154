"""The dispatcher: takes deliveries that are due, sends them, and writes down what came of it."""
