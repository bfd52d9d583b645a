"""The corruptions of CIFAR-10-C, for images of 32 x 32 pixels, with NumPy, SciPy and Pillow only.

A corruption is a function of a batch of images, a level and the random numbers of each image. The result for
an image does not depend on the other images of the batch. The constants are those of CIFAR-10-C (Hendrycks
and Dietterich, ICLR 2019), which differ from those of ImageNet-C.
"""
