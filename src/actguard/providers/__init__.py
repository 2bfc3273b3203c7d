"""How each SDK is watched: a folder per provider over one seam."""
