"""SiT, a velocity network of ImageNet."""
