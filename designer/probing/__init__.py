"""Find the blocks of a module, tap their outputs, and leave the module untouched."""
