"""The law in the training loops of other libraries, which are loaded only when asked for."""
