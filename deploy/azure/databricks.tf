# Premium has Unity Catalog, job permissions and service principals.
resource "azurerm_databricks_workspace" "this" {
  name                = "dbw-${var.name}"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  sku                 = "premium"
  tags                = local.tags
}

# The identity with which Unity Catalog reaches the lake: jobs hold no credential.
resource "azurerm_databricks_access_connector" "lake" {
  name                = "dbac-${var.name}"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = local.tags

  identity {
    type = "SystemAssigned"
  }
}

locals {
  lake_url = "abfss://${azurerm_storage_container.lake.name}@${azurerm_storage_account.lake.name}.dfs.core.windows.net/"
  # MY_FEAST_CLOUD: a folder, so that the catalog's own storage lies beside it.
  lake_root = "${local.lake_url}my_feast"
}

resource "databricks_storage_credential" "lake" {
  name = "${var.name}_lake"

  azure_managed_identity {
    access_connector_id = azurerm_databricks_access_connector.lake.id
  }
}

resource "databricks_external_location" "lake" {
  name            = "${var.name}_lake"
  url             = local.lake_url
  credential_name = databricks_storage_credential.lake.name
  comment         = "The cloud lake of My-Feast: tables are read and staged by path."
}

resource "databricks_catalog" "ops" {
  name         = "${var.name}_ops"
  storage_root = "${local.lake_url}_catalog"
  comment      = "Holds the volume of wheels; feature tables are reached by path."
  depends_on   = [databricks_external_location.lake]
}

resource "databricks_schema" "ops" {
  catalog_name = databricks_catalog.ops.name
  name         = "my_feast"
}

# The folder that Airflow writes wheels to, as standard and serverless compute see it.
resource "databricks_volume" "wheels" {
  name             = "wheels"
  catalog_name     = databricks_catalog.ops.name
  schema_name      = databricks_schema.ops.name
  volume_type      = "EXTERNAL"
  storage_location = "${local.lake_root}/_wheels"
  depends_on       = [databricks_external_location.lake]
}

# Airflow's identity in the workspace: it submits runs and runs the bundle's job, and the runs are its own.
resource "databricks_service_principal" "airflow" {
  application_id = azurerm_user_assigned_identity.this["databricks"].client_id
  display_name   = "my-feast-airflow"
}

resource "databricks_cluster_policy" "jobs" {
  name = "my-feast jobs"

  definition = jsonencode({
    "cluster_type"            = { type = "fixed", value = "job" }
    "data_security_mode"      = { type = "fixed", value = "SINGLE_USER" }
    "node_type_id"            = { type = "allowlist", values = [var.node_type], defaultValue = var.node_type }
    "num_workers"             = { type = "range", maxValue = 8, defaultValue = 2 }
    "autotermination_minutes" = { type = "fixed", value = 0, hidden = true }
  })
}

resource "databricks_permissions" "jobs" {
  cluster_policy_id = databricks_cluster_policy.jobs.id

  access_control {
    service_principal_name = databricks_service_principal.airflow.application_id
    permission_level       = "CAN_USE"
  }
}

resource "databricks_grants" "lake" {
  external_location = databricks_external_location.lake.id

  grant {
    principal  = databricks_service_principal.airflow.application_id
    privileges = ["READ_FILES", "WRITE_FILES"]
  }
}

resource "databricks_grants" "catalog" {
  catalog = databricks_catalog.ops.name

  grant {
    principal  = databricks_service_principal.airflow.application_id
    privileges = ["USE_CATALOG", "USE_SCHEMA", "READ_VOLUME"]
  }
}
