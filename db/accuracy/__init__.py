"""The estimated accuracy of the student, and the calibrations of teachers that it depends on."""
