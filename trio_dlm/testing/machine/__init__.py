"""State machines over trio: programs of random calls, random schedules, and what must hold after each step."""
