"""Changes to whole clips: augmentation in training, disturbances in evaluation."""
