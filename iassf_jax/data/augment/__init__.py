"""What is drawn anew for each training image: light, noise, JPEG, infrared levels."""
