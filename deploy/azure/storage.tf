# The cloud lake: ADLS Gen2, which is a storage account with a hierarchical namespace.
resource "azurerm_storage_account" "lake" {
  name                            = "${local.unique}lake"
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  account_kind                    = "StorageV2"
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  is_hns_enabled                  = true
  https_traffic_only_enabled      = true
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  local_user_enabled              = false
  allow_nested_items_to_be_public = false
  tags                            = local.tags

  # Versioning does not exist with a hierarchical namespace; Delta's own history and soft delete stand in for it.
  blob_properties {
    delete_retention_policy {
      days = 14
    }
    container_delete_retention_policy {
      days = 14
    }
  }

  network_rules {
    default_action             = "Deny"
    bypass                     = ["AzureServices"]
    ip_rules                   = var.allowed_ip_ranges
    virtual_network_subnet_ids = var.subnet_ids
  }
}

resource "azurerm_storage_container" "lake" {
  name                  = "lake"
  storage_account_id    = azurerm_storage_account.lake.id
  container_access_type = "private"
}

# Registry and task logs: an account without a hierarchical namespace, because only such a one keeps versions of a blob.
resource "azurerm_storage_account" "registry" {
  name                            = "${local.unique}reg"
  resource_group_name             = azurerm_resource_group.this.name
  location                        = azurerm_resource_group.this.location
  account_kind                    = "StorageV2"
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  https_traffic_only_enabled      = true
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  local_user_enabled              = false
  allow_nested_items_to_be_public = false
  tags                            = local.tags

  blob_properties {
    versioning_enabled  = true
    change_feed_enabled = true

    delete_retention_policy {
      days = 30
    }
    container_delete_retention_policy {
      days = 30
    }
  }

  network_rules {
    default_action             = "Deny"
    bypass                     = ["AzureServices"]
    ip_rules                   = var.allowed_ip_ranges
    virtual_network_subnet_ids = var.subnet_ids
  }
}

resource "azurerm_storage_container" "registry" {
  name                  = "registry"
  storage_account_id    = azurerm_storage_account.registry.id
  container_access_type = "private"
}

resource "azurerm_storage_container" "logs" {
  name                  = "airflow-logs"
  storage_account_id    = azurerm_storage_account.registry.id
  container_access_type = "private"
}

# A registry is rewritten by every apply, and a busy Airflow writes logs all day: neither may grow for ever.
resource "azurerm_storage_management_policy" "registry" {
  storage_account_id = azurerm_storage_account.registry.id

  rule {
    name    = "old-versions-of-the-registry"
    enabled = true

    filters {
      blob_types   = ["blockBlob"]
      prefix_match = ["${azurerm_storage_container.registry.name}/"]
    }
    actions {
      version {
        delete_after_days_since_creation = 90
      }
    }
  }

  rule {
    name    = "old-task-logs"
    enabled = true

    filters {
      blob_types   = ["blockBlob", "appendBlob"]
      prefix_match = ["${azurerm_storage_container.logs.name}/"]
    }
    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = 60
      }
      version {
        delete_after_days_since_creation = 7
      }
    }
  }
}
