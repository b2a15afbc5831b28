"""Pretrained potentials behind the `encoder.Encoder` protocol: SevenNet (in the wheel), Nequix and TensorNet (open weights)."""
