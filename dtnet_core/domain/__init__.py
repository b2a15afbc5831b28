"""How far do predictions reach? Whole kinds of crystals are kept from training, and answers for them are judged with their intervals."""
