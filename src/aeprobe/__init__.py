"""An autoencoder on MNIST, and a probe on its frozen encoder.

Importing the package costs nothing: torch and Lightning are imported by the modules that compute.
"""
