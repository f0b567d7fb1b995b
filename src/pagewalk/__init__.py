"""pagewalk: Linux's memory management as a Python program that you can run, measure and take apart."""
