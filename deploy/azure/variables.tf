variable "subscription_id" {
  description = "The subscription that pays."
  type        = string
}

variable "location" {
  description = "One region for everything: traffic between regions costs and adds milliseconds to every online read."
  type        = string
  default     = "westeurope"
}

variable "name" {
  description = "Begins every name. 3 to 11 lower-case letters and digits; accounts get a random end."
  type        = string
  default     = "myfeast"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,10}$", var.name))
    error_message = "name: 3 to 11 lower-case letters and digits, a letter first."
  }
}

variable "allowed_ip_ranges" {
  description = "Public ranges, in CIDR form, from which the storage accounts and the vault answer, such as the data centre's way out."
  type        = list(string)
}

variable "subnet_ids" {
  description = "Subnets with service endpoints for Storage and Key Vault: Airflow's, and the Databricks subnets."
  type        = list(string)
  default     = []
}

variable "redis_sku" {
  description = "Size of Azure Managed Redis. Balanced_B3 holds 3 GB; measure bytes per key first (docs/azure.md)."
  type        = string
  default     = "Balanced_B3"
}

variable "redis_high_availability" {
  description = "A replica in another zone. Without it the price is half, and a restart is a rebuild."
  type        = bool
  default     = true
}

variable "event_retention_hours" {
  description = "How long Event Hubs keeps events: how late a landing may be. Standard allows 168."
  type        = number
  default     = 72
}

variable "airflow_principal_ids" {
  description = "Object ids of the people or groups who may read Airflow's task logs and set secrets by hand."
  type        = list(string)
  default     = []
}

variable "node_type" {
  description = "Virtual machine of the job clusters."
  type        = string
  default     = "Standard_D4ds_v5"
}

variable "tags" {
  description = "On everything that can carry them."
  type        = map(string)
  default     = {}
}
