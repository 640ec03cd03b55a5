"""What sources that make images of EC2 have in common, whatever they provision them on."""
