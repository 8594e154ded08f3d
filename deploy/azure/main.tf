# What the azure environment stands on. docs/azure.md walks through it; identities.tf says who may do what.

locals {
  tags = merge({ project = "my_feast" }, var.tags)
  # Accounts share one world-wide name space.
  unique = "${var.name}${random_string.suffix.result}"
}

resource "random_string" "suffix" {
  length  = 6
  upper   = false
  special = false
}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}"
  location = var.location
  tags     = local.tags
}

data "azurerm_client_config" "current" {}
