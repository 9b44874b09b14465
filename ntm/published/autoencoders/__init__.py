"""The autoencoders of Stable Diffusion, SiT and FLUX.2."""
