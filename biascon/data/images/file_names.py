"""Which files of a folder are images, by their names alone.

The format of an image is decided by its content when it is decoded. Names decide only which files are tried.
"""

from __future__ import annotations

# The suffixes of torchvision's ImageFolder.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store"})
HIDDEN = "hidden file"  # reason in rejected.csv; dataset digests depend on it


def is_image_name(name: str) -> bool:
    """Whether a file is named like an image and is not hidden.

    macOS writes a hidden file ``._x.jpg`` beside each ``x.jpg`` on disks of other formats. It is no image.

    >>> is_image_name("x.JPG"), is_image_name("._x.jpg"), is_image_name("Thumbs.db")
    (True, False, False)
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_system_file(path: str) -> bool:
    """Whether the last part of a path is the name of a file that macOS or Windows write beside images.

    >>> is_system_file("a/._x.jpg"), is_system_file("a/Thumbs.db"), is_system_file(".a/x.jpg")
    (True, True, False)
    """
    name = path.replace("\\", "/").rpartition("/")[2]
    return name.startswith("._") or name.lower() in SYSTEM_FILES
