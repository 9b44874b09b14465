"""TarFlow, an autoregressive flow of images."""
