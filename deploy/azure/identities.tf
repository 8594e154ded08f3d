# One identity per Airflow connection, so that a task can do what its connection is for and nothing else. None has a
# secret: attach them to the machines (or, through federation, to the pods) that run Airflow and the readers.
locals {
  identities = {
    cloud      = "land and publish on the cloud lake: connection my_feast_cloud"
    registry   = "apply to the registry: connection my_feast_registry"
    online     = "materialize and verify: connection my_feast_redis"
    events     = "land from Event Hubs: connection my_feast_events"
    databricks = "submit runs: connection databricks_default"
    logs       = "write task logs, read the vault: the Airflow components themselves"
    serving    = "applications that read features online: no part of Airflow"
    producer   = "applications that send events: no part of Airflow"
  }

  lake_container     = "${azurerm_storage_account.lake.id}/blobServices/default/containers/${azurerm_storage_container.lake.name}"
  registry_container = "${azurerm_storage_account.registry.id}/blobServices/default/containers/${azurerm_storage_container.registry.name}"
  logs_container     = "${azurerm_storage_account.registry.id}/blobServices/default/containers/${azurerm_storage_container.logs.name}"

  # Every right there is, as narrow as Azure has it: a container, a hub, a vault. Never an account, a group or a key.
  rights = {
    cloud_writes_lake       = { who = "cloud", role = "Storage Blob Data Contributor", scope = local.lake_container }
    online_reads_lake       = { who = "online", role = "Storage Blob Data Reader", scope = local.lake_container }
    registry_writes         = { who = "registry", role = "Storage Blob Data Contributor", scope = local.registry_container }
    serving_reads_registry  = { who = "serving", role = "Storage Blob Data Reader", scope = local.registry_container }
    logs_writes             = { who = "logs", role = "Storage Blob Data Contributor", scope = local.logs_container }
    logs_reads_connections  = { who = "logs", role = "Key Vault Secrets User", scope = azurerm_key_vault.this.id }
    events_receives_weather = { who = "events", role = "Azure Event Hubs Data Receiver", scope = azurerm_eventhub.weather.id }
    producer_sends_weather  = { who = "producer", role = "Azure Event Hubs Data Sender", scope = azurerm_eventhub.weather.id }
  }
}

resource "azurerm_user_assigned_identity" "this" {
  for_each            = local.identities
  name                = "id-${var.name}-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = merge(local.tags, { may = each.value })
}

resource "azurerm_role_assignment" "this" {
  for_each             = local.rights
  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.this[each.value.who].principal_id
  principal_type       = "ServicePrincipal"
}

# Unity Catalog reads and stages on the lake for every job.
resource "azurerm_role_assignment" "connector_writes_lake" {
  scope                = local.lake_container
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_databricks_access_connector.lake.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "people_read_logs" {
  for_each             = toset(var.airflow_principal_ids)
  scope                = local.logs_container
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = each.value
}
