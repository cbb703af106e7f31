"""The written constitution: principles as data, critique and revision by them, and judges that compare by them."""
