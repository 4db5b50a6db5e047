"""The Snake activation (Ziyin et al. 2020) as a layer of resnet-factory's recipes."""
