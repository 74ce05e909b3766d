"""Product-led sales on the warehouse: product events and CRM data in, scored and explained leads out."""
