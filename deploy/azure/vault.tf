# Airflow's secrets backend. What Terraform puts in are connections without a secret: which identity to be, and where.
resource "azurerm_key_vault" "this" {
  name                       = "${local.unique}-kv"
  resource_group_name        = azurerm_resource_group.this.name
  location                   = azurerm_resource_group.this.location
  tenant_id                  = data.azurerm_client_config.current.tenant_id
  sku_name                   = "standard"
  rbac_authorization_enabled = true
  purge_protection_enabled   = true
  soft_delete_retention_days = 30
  tags                       = local.tags

  network_acls {
    default_action             = "Deny"
    bypass                     = "AzureServices"
    ip_rules                   = var.allowed_ip_ranges
    virtual_network_subnet_ids = var.subnet_ids
  }
}

locals {
  as_identity = { for name, each in azurerm_user_assigned_identity.this : name => { managed_identity_client_id = each.client_id } }

  connections = {
    "my-feast-cloud"    = { conn_type = "generic", extra = local.as_identity["cloud"] }
    "my-feast-registry" = { conn_type = "generic", extra = local.as_identity["registry"] }
    "my-feast-redis" = {
      conn_type = "generic"
      extra = merge(local.as_identity["online"], {
        auth      = "entra"
        object_id = azurerm_user_assigned_identity.this["online"].principal_id
      })
    }
    "my-feast-events" = {
      conn_type = "generic"
      extra     = merge(local.as_identity["events"], { "security.protocol" = "SASL_SSL" })
    }
    "my-feast-logs" = {
      conn_type = "wasb"
      host      = azurerm_storage_account.registry.primary_blob_endpoint
      extra = merge(local.as_identity["logs"], {
        workload_identity_tenant_id = data.azurerm_client_config.current.tenant_id
      })
    }
    "databricks-default" = {
      conn_type = "databricks"
      host      = azurerm_databricks_workspace.this.workspace_url
      extra = {
        use_azure_managed_identity       = true
        azure_managed_identity_client_id = azurerm_user_assigned_identity.this["databricks"].client_id
      }
    }
  }
}

# Whoever applies this may set secrets; the role takes a minute to be believed.
resource "azurerm_role_assignment" "deployer_sets_secrets" {
  for_each             = toset(concat([data.azurerm_client_config.current.object_id], var.airflow_principal_ids))
  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Secrets Officer"
  principal_id         = each.value
}

resource "azurerm_key_vault_secret" "connections" {
  # An address and an identity do not expire.
  #checkov:skip=CKV_AZURE_41: no value here is secret
  for_each     = local.connections
  name         = "airflow-connections-${each.key}"
  value        = jsonencode(each.value)
  content_type = "application/json"
  key_vault_id = azurerm_key_vault.this.id
  depends_on   = [azurerm_role_assignment.deployer_sets_secrets]
}
