"""The ionic tensor's physics: force constants and Born charges give modes, and modes give the tensor."""
